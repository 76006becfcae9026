use plugfest::story::*;
use scenarios::story::*;
use scenarios::*;
fn main() {
    let d = DiskId(1);
    let c = ControllerId(1);
    let vm = VmId(1);
    let b = |after: u64, awaited, does| Beat {
        after,
        awaited,
        does,
    };
    let _ = d;
    let story = Story {
        controllers: vec![c],
        disks: vec![],
        vms: vec![StoryVm {
            vm: VmId(1),
            controllers: vec![c],
            firmware_only: false,
            awaited: true,
        }],
        beats: vec![
            b(
                0,
                true,
                Action::ResetLun {
                    place: Place {
                        controller: c,
                        target: TargetId(0),
                    },
                },
            ),
            b(0, false, Action::RebootVm { vm }),
            b(700_000, true, Action::PauseVm { vm }),
        ],
    };
    let seed = std::env::args().nth(1).unwrap().parse().unwrap();
    let r = tell_watched(&story, StoryOptions::intended(seed), &mut |s| {
        println!("{} {:?}", s.at, s.what)
    })
    .unwrap();
    println!("{:?}", r.violated().collect::<Vec<_>>());
}
