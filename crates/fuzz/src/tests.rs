//! A short run of every target, and of the engine itself.

use super::*;

/// Of every short run, so that what was found once stays found.
const SEED: u64 = 20_260_101;
/// Names a second seed, which finds other things; CI gives each commit one of its own.
const SEED_VARIABLE: &str = "FUZZ_SEED";

#[track_caller]
fn check(name: &str, iterations: u64) {
    let target = all().into_iter().find(|target| target.name == name).expect("a target");
    let other = std::env::var(SEED_VARIABLE).ok();
    let other = other.map(|seed| seed.parse().expect("FUZZ_SEED is a number"));
    for seed in std::iter::once(SEED).chain(other) {
        if let Err(failure) = run(&target, seed, 0..iterations) {
            panic!("{failure}");
        }
    }
}

/// One test for each target, so that they run side by side.
macro_rules! short_runs {
    ($($test:ident $name:literal $iterations:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name, $iterations);
            }
        )*

        #[test]
        fn no_target_is_forgotten() {
            let tested = [$($name),*];
            let names: Vec<&str> = all().iter().map(|target| target.name).collect();
            assert_eq!(names, tested);
        }
    };
}

short_runs! {
    apply "apply" 500,
    cbor "cbor" 2000,
    cel "cel" 2000,
    duration "duration" 5000,
    field_selector "field-selector" 5000,
    fields_v1 "fields-v1" 3000,
    json "json" 2000,
    json_patch "json-patch" 1000,
    label_selector "label-selector" 5000,
    merge_patch "merge-patch" 1000,
    protobuf "protobuf" 2000,
    quantity "quantity" 5000,
    spdy_frames "spdy-frames" 5000,
    spdy_headers "spdy-headers" 1000,
    strategic_merge_patch "strategic-merge-patch" 1000,
    time "time" 5000,
    websocket_channels "websocket-channels" 2000,
    yaml "yaml" 1000,
}

#[test]
fn failures_are_found_and_made_short() {
    fn corpus() -> Vec<Vec<u8>> {
        vec![b"some harmless text".to_vec()]
    }
    fn dislikes_brackets(input: &[u8]) {
        assert!(!input.contains(&b'['), "a bracket");
    }
    let target = Target { name: "test", corpus, run: dislikes_brackets };
    let failure = run(&target, 1, 0..10_000).expect_err("brackets are among the tokens");
    assert_eq!((failure.message.as_str(), failure.input.as_slice()), ("a bracket", &b"["[..]));
    let again = run(&target, 1, failure.iteration..failure.iteration + 1);
    assert_eq!(again, Err(failure));
}
