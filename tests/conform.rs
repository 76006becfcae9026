//! Every recording of a real SPDK, played to the model.

use sim::Deviations;
use sim::conform::conform;
use sim::conform::model_peer::ModelPeer;
use sim::conform::model_target::TargetMaker;
use sim::conform::report::Report;

#[test]
fn the_model_of_head_answers_as_recorded() {
    let mut files: Vec<_> = std::fs::read_dir("tests/transcripts")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    files.sort();
    let mut report = Report { files: Vec::new(), list: &[] };
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut peer = ModelPeer::new(TargetMaker::new(Deviations::head()));
        report.files.push(conform(path.to_str().unwrap(), &text, &mut peer));
    }
    println!("{}", report.text());
}
