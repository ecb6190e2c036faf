//! Limits per source against what they mean: each source by itself, as long as it is remembered.

use super::*;
use crate::abi::{SUBJECT_WORDS, limit, sources::BUCKETS};

const SECOND: u64 = 1_000_000_000;

/// One packet a second, and so many at once.
fn a_second(burst: u64, slot: u16) -> Test {
    let cost = SECOND << 16;
    Test {
        kind: Test::LIMIT_PER_SOURCE,
        slot,
        more: [1, 1, 0x0123_4567_89ab_cdef],
        ..Test::masked(0, [cost, 0], [burst * SECOND, burst])
    }
}

fn from(family: u64, bytes: [u8; 16]) -> Subject {
    let mut words = [0; SUBJECT_WORDS];
    let (halves, _) = bytes.as_chunks::<8>();
    words[0] = u64::from_ne_bytes(halves[0]);
    words[1] = u64::from_ne_bytes(halves[1]);
    words[usize::from(field::FACTS)] = family | facts::IN | facts::PORTS;
    // What is not the sender tells none apart.
    words[2] = 77;
    Subject { words }
}

fn v4(address: [u8; 4]) -> Subject {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address);
    from(facts::V4, bytes)
}

fn v6(last: [u8; 3]) -> Subject {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (0x20, 1);
    (bytes[6], bytes[7], bytes[15]) = (last[0], last[1], last[2]);
    from(facts::V6, bytes)
}

#[test]
fn a_source_is_as_much_of_an_address_as_is_said() {
    let (plain, wide) = (a_second(1, 32 << 8 | 64), a_second(1, 24 << 8 | 48));
    let known = |limit: &Test, subjects: [Subject; 2]| {
        let [one, other] = subjects.map(|subject| key(&subject, limit));
        one == other
    };
    assert!(!known(&plain, [v4([10, 0, 0, 1]), v4([10, 0, 0, 2])]));
    assert!(known(&wide, [v4([10, 0, 0, 1]), v4([10, 0, 0, 2])]));
    assert!(!known(&wide, [v4([10, 0, 0, 1]), v4([10, 0, 1, 1])]));
    assert!(known(&plain, [v6([0, 0, 1]), v6([0, 0, 2])]));
    assert!(!known(&plain, [v6([0, 1, 1]), v6([0, 0, 1])]));
    assert!(known(&wide, [v6([0, 1, 1]), v6([7, 0, 1])]));
    let all = a_second(1, 1 << 8 | 128);
    assert!(!known(&all, [v6([0, 0, 1]), v6([0, 0, 2])]));
    assert!(known(&all, [v4([10, 0, 0, 1]), v4([127, 0, 0, 1])]));
    assert!(!known(&all, [v4([10, 0, 0, 1]), v4([128, 0, 0, 1])]));
    // The same words, of IPv4 and of IPv6.
    let same = [from(facts::V4, [0; 16]), from(facts::V6, [0; 16])];
    assert!(!known(&plain, same));
}

#[test]
fn masks_are_of_the_first_bits() {
    let bytes = |bits| mask(bits).to_ne_bytes();
    assert_eq!(bytes(0), [0; 8]);
    assert_eq!(bytes(1), [0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes(20), [0xff, 0xff, 0xf0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes(63), [255, 255, 255, 255, 255, 255, 255, 254]);
    assert_eq!([bytes(64), bytes(65), bytes(255)], [[255; 8]; 3]);
}

#[test]
fn sources_are_spread_over_all_buckets() {
    let limit = a_second(1, 32 << 8 | 64);
    let mut hits = [0u8; BUCKETS];
    for number in 0..65_536u32 {
        let [_, _, c, d] = number.to_be_bytes();
        let key = key(&v4([10, 0, c, d]), &limit);
        hits[crate::abi::sources::bucket(key)] += 1;
    }
    // Four a bucket in the mean: chance gives none more than some fifteen.
    assert!(hits.iter().all(|hits| *hits < 20));
    let taken = hits.iter().filter(|hits| **hits > 0).count();
    assert!(taken > BUCKETS * 9 / 10, "{taken}");
}

#[test]
fn each_source_has_its_burst_and_its_rate() {
    let limit = a_second(3, 32 << 8 | 64);
    let (bucket, evicted) = (Bucket::default(), Word::default());
    let mut now = 7 * SECOND;
    let takes = |key, now| takes(&bucket, &evicted, key, &limit, 100, now);
    for key in [5, 6] {
        let taken = [0; 5].map(|_| takes(key, now));
        assert_eq!(taken, [true, true, true, false, false], "{key}");
    }
    now += SECOND;
    assert_eq!(
        [5, 5, 6, 6].map(|key| takes(key, now)),
        [true, false, true, false]
    );
}

#[test]
fn who_is_furthest_over_is_forgotten_last() {
    let limit = a_second(100, 32 << 8 | 64);
    let (bucket, evicted) = (Bucket::default(), Word::default());
    let now = 7 * SECOND;
    let takes = |key| takes(&bucket, &evicted, key, &limit, 100, now);
    for _ in 0..100 {
        assert!(takes(1));
    }
    assert!(!takes(1));
    // A flood of others, each seen once.
    for key in 2..10_000 {
        assert!(takes(key));
    }
    assert!(!takes(1), "it is still known");
}

#[test]
fn who_is_forgotten_too_early_is_counted() {
    let limit = a_second(100, 32 << 8 | 64);
    let (bucket, evicted) = (Bucket::default(), Word::default());
    let takes = |key, now| takes(&bucket, &evicted, key, &limit, 100, now);
    let now = 7 * SECOND;
    // As many as there is room for, and each again.
    for key in [1, 2, 3, 4, 4, 3, 2, 1] {
        assert!(takes(key, now));
    }
    assert_eq!(evicted.get(), 0);
    assert!(takes(5, now + SECOND));
    assert_eq!(evicted.get(), 1, "one of them is ahead by a second");
    // All that came by of the others had come by at the rate.
    for key in [6, 7, 8] {
        assert!(takes(key, now + 2 * SECOND));
    }
    assert_eq!(evicted.get(), 1);
}

#[test]
fn what_is_larger_than_the_burst_takes_no_place() {
    let mut limit = a_second(1, 32 << 8 | 64);
    limit.first[limit::BYTES] = 1;
    let (bucket, evicted) = (Bucket::default(), Word::default());
    assert!(!takes(&bucket, &evicted, 9, &limit, 2, SECOND));
    assert_eq!(evicted.get(), 0);
    assert!(bucket.places.iter().all(|place| place.key.get() == 0));
}
