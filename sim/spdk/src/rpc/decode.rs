//! Strict decoding of a `params` object, as `spdk_json_decode_object` does it.
//!
//! Unknown and duplicate keys, wrong types, numbers out of range and missing keys fail alike.

use super::json::Json;

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// `true` or `false`.
    Flag,
    /// A number of that many bits, with a sign.
    I32,
    /// A number of that many bits.
    U8,
    /// A number of that many bits.
    U32,
    /// A number of that many bits.
    U64,
    /// A UUID, as a text.
    Uuid,
    /// Any one of these texts.
    OneOf(&'static [&'static str]),
    /// Any one of these texts, in any case.
    OneOfAnyCase(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// It has to be there.
    pub required: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Number(i128),
    Uuid([u8; 16]),
}

/// What keys that no field has do to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownKeys {
    Refused,
    PassedOver,
}

/// The values of `fields`, in their order; `None` if they cannot be decoded. No object at all is an empty one.
pub(super) fn decode(
    fields: &[Field],
    params: Option<&Json>,
    unknown: UnknownKeys,
) -> Option<Vec<Option<Value>>> {
    let members = match params {
        None => &[],
        Some(Json::Object(members)) => members.as_slice(),
        Some(_) => return None,
    };
    let mut values = vec![None; fields.len()];
    for (key, json) in members {
        let Some(at) = fields.iter().position(|f| f.name == key) else {
            match unknown {
                UnknownKeys::PassedOver => continue,
                UnknownKeys::Refused => return None,
            }
        };
        if values[at].is_some() {
            return None;
        }
        values[at] = Some(fields[at].kind.decode(json)?);
    }
    let missing = |(f, v): (&Field, &Option<Value>)| f.required && v.is_none();
    let whole = !fields.iter().zip(&values).any(missing);
    whole.then_some(values)
}

/// What a parameter can be in Rust.
pub(super) trait Param: Default {
    const KIND: Kind;

    /// From a value of that kind.
    fn from_value(value: Value) -> Self;
}

impl<T: Param> Param for Option<T> {
    const KIND: Kind = T::KIND;

    fn from_value(value: Value) -> Self {
        Some(T::from_value(value))
    }
}

impl Param for String {
    const KIND: Kind = Kind::Text;

    fn from_value(value: Value) -> Self {
        match value {
            Value::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }
}

impl Param for bool {
    const KIND: Kind = Kind::Flag;

    fn from_value(value: Value) -> Self {
        matches!(value, Value::Flag(true))
    }
}

impl Param for [u8; 16] {
    const KIND: Kind = Kind::Uuid;

    fn from_value(value: Value) -> Self {
        match value {
            Value::Uuid(uuid) => uuid,
            other => panic!("{other:?} is no UUID"),
        }
    }
}

macro_rules! numbers {
    ($($type:ty, $kind:ident);*) => {$(
        impl Param for $type {
            const KIND: Kind = Kind::$kind;

            fn from_value(value: Value) -> Self {
                match value {
                    Value::Number(number) => number.try_into().expect("its kind has the same range"),
                    other => panic!("{other:?} is no number"),
                }
            }
        }
    )*};
}

numbers! { u8, U8; i32, I32; u32, U32; u64, U64 }

impl Kind {
    fn decode(self, json: &Json) -> Option<Value> {
        let (low, high) = match self {
            Self::Text | Self::OneOf(_) | Self::OneOfAnyCase(_) | Self::Uuid => {
                let Json::String(text) = json else {
                    return None;
                };
                return self.decode_text(text);
            }
            Self::Flag => {
                return match json {
                    Json::Bool(flag) => Some(Value::Flag(*flag)),
                    _ => None,
                };
            }
            Self::I32 => (i32::MIN.into(), i32::MAX.into()),
            Self::U8 => (0, u8::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
        };
        let Json::Number(text) = json else {
            return None;
        };
        let number = whole(text)?;
        (low..=high)
            .contains(&number)
            .then_some(Value::Number(number))
    }

    /// C strings: a NUL inside is refused (`spdk_json_decode_string`).
    fn decode_text(self, text: &str) -> Option<Value> {
        match self {
            Self::Uuid => parse_uuid(text).map(Value::Uuid),
            Self::OneOf(all) if !all.contains(&text) => None,
            Self::OneOfAnyCase(all) if !all.iter().any(|t| t.eq_ignore_ascii_case(text)) => None,
            Self::Text | Self::OneOf(_) | Self::OneOfAnyCase(_) => {
                (!text.contains('\0')).then(|| Value::Text(text.to_owned()))
            }
            Self::Flag | Self::U8 | Self::I32 | Self::U32 | Self::U64 => None,
        }
    }
}

/// The whole number that a JSON number is, also when written "1.0" or "2e3"
/// (`json_number_split`, which reduces the significand and the exponent).
fn whole(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut significand: u64 = 0;
    for digit in integer.bytes().chain(fraction.bytes()) {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        significand = significand.checked_mul(10)?.checked_add(digit)?;
    }
    if significand == 0 {
        return Some(0);
    }
    let exponent: i64 = exponent.parse().ok()?;
    let mut exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    while exponent < 0 && significand.is_multiple_of(10) {
        significand /= 10;
        exponent += 1;
    }
    while exponent > 0 {
        significand = significand.checked_mul(10)?;
        exponent -= 1;
    }
    let magnitude = i128::from(significand);
    (exponent == 0).then_some(if negative { -magnitude } else { magnitude })
}

/// The 36 characters of a UUID, as uuid_parse(3) takes them.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut uuid = [0; 16];
    let mut nibbles = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(*byte).to_digit(16)? as u8;
        uuid[nibbles / 2] |= digit << (4 * (1 - nibbles % 2));
        nibbles += 1;
    }
    Some(uuid)
}

#[cfg(test)]
impl Kind {
    /// A value that it takes: the last or highest.
    pub(super) fn example(self) -> serde_json::Value {
        match self {
            Self::Text => "text".into(),
            Self::Flag => true.into(),
            Self::I32 => i32::MAX.into(),
            Self::U8 => u8::MAX.into(),
            Self::U32 => u32::MAX.into(),
            Self::U64 => u64::MAX.into(),
            Self::Uuid => "00000000-0000-4000-8000-000000000001".into(),
            Self::OneOf(all) | Self::OneOfAnyCase(all) => all[all.len() - 1].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_uuid, whole};

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        for (text, number) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("1.0", Some(1)),
            ("10e-1", Some(1)),
            ("2e3", Some(2000)),
            ("0e99999999999999999999", Some(0)),
            ("1.5", None),
            ("1e99", None),
            ("18446744073709551616", None),
            ("18446744073709551615", Some(u64::MAX.into())),
        ] {
            assert_eq!(whole(text), number, "{text}");
        }
    }

    #[test]
    fn a_uuid_has_36_characters() {
        let uuid = parse_uuid("00000000-0000-4000-8000-00000000000f");
        assert_eq!(uuid.map(|u| (u[6], u[15])), Some((0x40, 0x0f)));
        assert_eq!(parse_uuid("bad"), None);
        assert_eq!(parse_uuid("00000000-0000-4000-8000-00000000000g"), None);
        assert_eq!(parse_uuid("00000000x0000-4000-8000-00000000000f"), None);
    }
}
