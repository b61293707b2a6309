//! Bytes that are not what frames and messages are made of.

use airlock_e2e::scale;
use ipc_protocol::{REQUEST_FRAME_MAX, Request, encode_request, frame_header};

use super::{Executor, attack, peer::fresh_id};

/// PATIENCE of the executor and a little more.
fn patience() -> std::time::Duration {
    scale::seconds(5) + scale::seconds(3)
}

// On a live connection and on one that has said nothing.
#[track_caller]
fn closes(executor: &Executor, bytes: &[u8]) {
    let mut live = executor.live();
    live.send(bytes);
    live.is_closed();
    let mut fresh = executor.connect();
    fresh.send(bytes);
    fresh.is_closed();
}

#[test]
fn a_frame_of_length_0_closes_the_connection() {
    attack(|executor| closes(executor, &[0; 4]));
}

#[test]
fn a_frame_one_byte_above_the_bound_closes_the_connection_before_its_body() {
    attack(|executor| closes(executor, &frame_header(REQUEST_FRAME_MAX + 1)));
}

#[test]
fn a_frame_of_4_gib_closes_the_connection_and_costs_no_memory() {
    attack(|executor| {
        let before = executor.memory_kib("VmPeak");
        closes(executor, &[255; 4]);
        assert!(executor.memory_kib("VmPeak") < before + 8 * 1024);
    });
}

#[test]
fn a_frame_at_the_bound_is_read_before_it_is_judged() {
    attack(|executor| {
        let mut peer = executor.live();
        peer.frame(&vec![0xff; REQUEST_FRAME_MAX]);
        peer.is_closed();
    });
}

#[test]
fn half_a_frame_and_silence_close_the_connection_after_a_while() {
    attack(|executor| {
        let mut peer = executor.live();
        peer.send(&[100, 0, 0, 0, 1, 2, 3]);
        peer.is_closed_within(patience());
    });
}

#[test]
fn half_a_length_and_silence_close_the_connection_after_a_while() {
    attack(|executor| {
        let mut peer = executor.live();
        peer.send(&[9]);
        peer.is_closed_within(patience());
    });
}

#[test]
fn a_connection_that_never_says_hello_is_closed_after_a_while() {
    attack(|executor| executor.connect().is_closed_within(patience()));
}

#[test]
fn a_byte_now_and_then_does_not_prolong_a_frame() {
    attack(|executor| {
        let mut peer = executor.live();
        peer.send(&[200, 0, 0, 0]);
        let begin = std::time::Instant::now();
        while peer.send(&[0]) {
            assert!(begin.elapsed() < patience(), "the frame is still awaited");
            // The rhythm is the attack; nothing is waited for.
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        peer.is_closed();
    });
}

#[test]
fn a_live_connection_may_be_silent() {
    attack(|executor| {
        let mut peer = executor.live();
        std::thread::sleep(patience());
        peer.is_open();
    });
}

#[test]
fn an_unknown_message_closes_the_connection() {
    attack(|executor| {
        for tag in [8, 9, 100, 250] {
            let mut peer = executor.live();
            peer.frame(&[&[tag][..], fresh_id().as_bytes()].concat());
            peer.is_closed();
        }
    });
}

#[test]
fn bytes_after_a_message_close_the_connection() {
    attack(|executor| {
        let body = encode_request(&Request::Release { job: fresh_id() }).unwrap_or_default();
        let mut peer = executor.live();
        peer.frame(&body);
        peer.is_open();
        peer.frame(&[&body[..], &[0]].concat());
        peer.is_closed();
    });
}

#[test]
fn a_number_that_is_longer_than_it_must_be_closes_the_connection() {
    attack(|executor| {
        let mut peer = executor.live();
        let ack = [&[4][..], fresh_id().as_bytes(), &[0]].concat();
        peer.frame(&[&ack[..], &[1]].concat());
        peer.is_open();
        peer.frame(&[&ack[..], &[251, 1, 0]].concat());
        peer.is_closed();
    });
}

#[test]
fn a_length_that_its_message_does_not_hold_closes_the_connection_and_costs_no_memory() {
    attack(|executor| {
        let before = executor.memory_kib("VmHWM");
        for length in [200u64, 1 << 20, 1 << 40, u64::MAX] {
            let mut peer = executor.live();
            let claim = [&[253][..], &length.to_le_bytes()].concat();
            peer.frame(&[&[2][..], fresh_id().as_bytes(), &[0], &claim].concat());
            peer.is_closed();
        }
        assert!(executor.memory_kib("VmHWM") < before + 4 * 1024);
    });
}

#[test]
fn text_that_is_not_utf8_closes_the_connection() {
    attack(|executor| {
        let mut peer = executor.connect();
        peer.frame(&[1, 1, 0, 2, 0xc3, 0x28]);
        peer.is_closed();
    });
}

#[test]
fn bytes_by_chance_close_the_connection_or_mean_nothing() {
    attack(|executor| {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..60 {
            let mut peer = if round % 2 == 0 { executor.live() } else { executor.connect() };
            for _ in 0..20 {
                let body: Vec<u8> =
                    (0..1 + next() % 300).map(|i| if i == 0 { (next() % 9) as u8 } else { next() as u8 }).collect();
                if !peer.frame(&body) {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_connection_that_ends_in_the_middle_of_a_frame_leaves_nothing() {
    attack(|executor| {
        for length in 1..40 {
            let mut peer = executor.live();
            let body = encode_request(&Request::Spawn(Box::new(super::peer::sleeper()))).unwrap_or_default();
            let frame = [&frame_header(body.len())[..], &body].concat();
            peer.send(&frame[..length.min(frame.len() - 1)]);
        }
    });
}
