//! The toy workload on this engine and on others, CPU time an exchange: `RUSTFLAGS='--cfg madsim' cargo bench -p
//! peers` (madsim is only there under that flag).
//!
//! With sleeps: madsim (tasks and channels), tokio (one thread, paused clock), turmoil (TCP, one client
//! host). Without: shuttle (random, threads and its mpsc channels), where only the scheduler's choice orders
//! things; with sleeps of no time, in which this engine takes a turn more, there is no bound. All cases of a round run in one process, one after the other; a ratio is the median of the
//! rounds' ratios.

#[path = "../../support/cpu.rs"]
mod cpu;

use std::time::Duration;

use cpu::{per_unit, spread};
use peers::{EXCHANGES, PRODUCERS, Sleeps, Xoshiro, answer, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc as queue, oneshot};

const ROUNDS: usize = 9;
const ALL: u64 = PRODUCERS * EXCHANGES;

/// A case: its name, what runs it once, runs a sample, and how often this engine must go into it.
struct Case {
    name: &'static str,
    sleeps: Sleeps,
    runs: u64,
    /// `None`: no bound.
    must: Option<f64>,
    run: fn(u64),
}

const CASES: &[Case] = &[
    #[cfg(madsim)]
    Case {
        name: "madsim, tasks and channels",
        sleeps: Sleeps::Long,
        runs: 40,
        must: Some(5.0),
        run: on_madsim,
    },
    Case {
        name: "tokio, paused clock",
        sleeps: Sleeps::Long,
        runs: 40,
        must: Some(5.0),
        run: on_tokio,
    },
    Case {
        name: "turmoil, TCP",
        sleeps: Sleeps::Long,
        runs: 6,
        must: Some(35.0),
        run: on_turmoil,
    },
    Case {
        name: "shuttle, threads",
        sleeps: Sleeps::Never,
        runs: 60,
        must: Some(8.0),
        run: on_shuttle,
    },
    Case {
        name: "shuttle, beside sleeps of no time",
        sleeps: Sleeps::Zero,
        runs: 60,
        must: None,
        run: on_shuttle,
    },
];

/// This engine's cases.
const OURS: [(Sleeps, &str); 3] = [
    (Sleeps::Long, "this engine, with sleeps"),
    (Sleeps::Never, "this engine, without"),
    (Sleeps::Zero, "this engine, sleeps of no time"),
];

fn main() {
    let sample = |runs: u64, round: usize, work: &dyn Fn(u64)| {
        per_unit(&mut || {
            (0..runs).for_each(|n| work(round as u64 * runs + n));
            runs * ALL
        })
    };
    let mut ours = OURS.map(|_| Vec::new());
    let mut theirs = vec![Vec::new(); CASES.len()];
    let mut ratios = vec![Vec::new(); CASES.len()];
    for round in 0..=ROUNDS {
        let here = OURS.map(|(sleeps, _)| {
            sample(400, round, &|seed| {
                std::hint::black_box(run(seed, sleeps));
            })
        });
        for (n, case) in CASES.iter().enumerate() {
            let there = sample(case.runs, round, &|seed| (case.run)(seed));
            // The first round warms up.
            if round > 0 {
                let mine = OURS.iter().position(|(sleeps, _)| *sleeps == case.sleeps);
                theirs[n].push(there);
                ratios[n].push(there / here[mine.expect("each kind is measured")]);
            }
        }
        if round > 0 {
            ours.iter_mut()
                .zip(here)
                .for_each(|(all, here)| all.push(here));
        }
    }
    if !cfg!(madsim) {
        println!("without madsim: it needs RUSTFLAGS='--cfg madsim'");
    }
    println!("ns of CPU an exchange, {ROUNDS} rounds after one to warm up: median (least..most)");
    for ((_, name), samples) in OURS.iter().zip(&ours) {
        let (least, median, most) = spread(samples);
        println!("{name:34} {median:8.1} ({least:.1}..{most:.1})");
    }
    for (n, case) in CASES.iter().enumerate() {
        let (least, median, most) = spread(&theirs[n]);
        let (_, ratio, _) = spread(&ratios[n]);
        let (name, must) = (case.name, case.must);
        let bound = match must {
            None => "no bound".to_owned(),
            Some(must) if ratio >= must => format!("must {must} x: met"),
            Some(must) => format!("must {must} x: NOT met"),
        };
        println!("{name:34} {median:8.1} ({least:.1}..{most:.1})  {ratio:6.1} x, {bound}");
    }
}

/// A question and where its answer goes.
type Asked = (u64, oneshot::Sender<u64>);

/// The workload as tasks, with whatever sleeps and spawns.
macro_rules! tasks {
    ($seed:expr, $sleep:path, $spawn:path) => {{
        let (ask, mut asked) = queue::unbounded_channel::<Asked>();
        let server = $spawn(async move {
            let mut draws = Xoshiro::new($seed, PRODUCERS);
            while let Some((question, back)) = asked.recv().await {
                $sleep(Duration::from_millis(draws.ms(1))).await;
                back.send(answer(question)).expect("it waits");
            }
        });
        let mut producers = Vec::new();
        for producer in 0..PRODUCERS {
            let ask = ask.clone();
            producers.push($spawn(async move {
                let mut draws = Xoshiro::new($seed, producer);
                for _ in 0..EXCHANGES {
                    $sleep(Duration::from_millis(draws.ms(9))).await;
                    let question = draws.bits();
                    let (back, came) = oneshot::channel();
                    ask.send((question, back)).expect("the server runs");
                    assert_eq!(came.await.expect("an answer"), answer(question));
                }
            }));
        }
        drop(ask);
        for producer in producers {
            producer.await.expect("it ends well");
        }
        server.await.expect("it ends well");
    }};
}

fn on_tokio(seed: u64) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async move { tasks!(seed, tokio::time::sleep, tokio::spawn) });
}

#[cfg(madsim)]
fn on_madsim(seed: u64) {
    let config = madsim::Config::default();
    let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, config);
    runtime.block_on(async move { tasks!(seed, madsim::time::sleep, madsim::task::spawn) });
}

fn on_turmoil(seed: u64) {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::from_millis(1))
        .simulation_duration(Duration::from_secs(60))
        .build();
    sim.host("server", move || async move {
        let listener = turmoil::net::TcpListener::bind(("0.0.0.0", 9)).await?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut draws = Xoshiro::new(seed, PRODUCERS);
                while let Ok(question) = stream.read_u64().await {
                    tokio::time::sleep(Duration::from_millis(draws.ms(1))).await;
                    stream
                        .write_u64(answer(question))
                        .await
                        .expect("it listens");
                }
            });
        }
    });
    sim.client("producers", async move {
        let mut producers = Vec::new();
        for producer in 0..PRODUCERS {
            producers.push(tokio::spawn(async move {
                let mut stream = turmoil::net::TcpStream::connect(("server", 9))
                    .await
                    .expect("a server");
                let mut draws = Xoshiro::new(seed, producer);
                for _ in 0..EXCHANGES {
                    tokio::time::sleep(Duration::from_millis(draws.ms(9))).await;
                    let question = draws.bits();
                    stream.write_u64(question).await.expect("it listens");
                    assert_eq!(
                        stream.read_u64().await.expect("an answer"),
                        answer(question)
                    );
                }
            }));
        }
        for producer in producers {
            producer.await?;
        }
        Ok(())
    });
    sim.run().expect("it ends well");
}

fn on_shuttle(seed: u64) {
    let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(seed, 1);
    let mut config = shuttle::Config::new();
    config.failure_persistence = shuttle::FailurePersistence::None;
    shuttle::Runner::new(scheduler, config).run(move || {
        use shuttle::sync::mpsc::{Sender, channel};
        let (ask, asked) = channel::<(u64, Sender<u64>)>();
        let mut threads = Vec::new();
        for producer in 0..PRODUCERS {
            let ask = ask.clone();
            threads.push(shuttle::thread::spawn(move || {
                let mut draws = Xoshiro::new(seed, producer);
                let (back, came) = channel();
                for _ in 0..EXCHANGES {
                    let question = draws.bits();
                    ask.send((question, back.clone())).expect("the server runs");
                    assert_eq!(came.recv().expect("an answer"), answer(question));
                }
            }));
        }
        drop(ask);
        while let Ok((question, back)) = asked.recv() {
            back.send(answer(question)).expect("it waits");
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("it ends well"));
    });
}
