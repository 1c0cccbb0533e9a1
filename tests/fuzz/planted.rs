//! The judge itself: targets with a defect, each of which has to be found and reduced.

use std::hint::black_box;

use crate::campaign::{Fault, judge, judge_double, reduce};

fn panics(bytes: &[u8]) {
    assert!(!bytes.windows(2).any(|pair| pair == b"!!"), "planted");
}

/// Compares each byte with each.
fn quadratic(bytes: &[u8]) {
    let equal = |byte: &u8| bytes.iter().filter(|other| *other == black_box(byte)).count();
    black_box(bytes.iter().map(equal).sum::<usize>());
}

fn large(bytes: &[u8]) {
    if bytes.contains(&b'!') {
        black_box(vec![1_u8; 80 * 1024 * 1024]);
    }
}

pub(crate) fn check() -> Result<(), String> {
    let judged = judge(panics, b"some !! bytes");
    let Err(fault @ Fault::Panic(_)) = judged else {
        return Err(format!("a panic was not found: {judged:?}"));
    };
    let reduced = reduce(panics, b"some !! bytes", &fault);
    if reduced != b"!!" {
        return Err(format!("a panic was not reduced: {reduced:?}"));
    }
    let judged = judge(large, b"some ! bytes");
    if !matches!(judged, Err(Fault::Large(_))) {
        return Err(format!("a large allocation was not found: {judged:?}"));
    }
    let judged = judge(quadratic, &vec![0; 6000]);
    if !matches!(judged, Err(Fault::Slow(..))) {
        return Err(format!("a slow input was not found: {judged:?}"));
    }
    let judged = judge_double(quadratic, &vec![0; 1000], &vec![0; 2000]);
    if !matches!(judged, Err(Fault::Superlinear(..))) {
        return Err(format!("quadratic time was not found: {judged:?}"));
    }
    let judged = judge_double(panics, &vec![0; 100_000], &vec![0; 200_000]);
    match judged {
        Ok(_) => Ok(()),
        Err(fault) => Err(format!("linear time was refused: {fault}")),
    }
}
