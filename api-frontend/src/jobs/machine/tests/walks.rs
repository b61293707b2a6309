//! Long histories with everything in them, by chance: what is too large to be gone through.

use proptest::prelude::*;

use super::disk::Cap;
use super::events::Scope;
use super::world::World;

/// Steps of the longest history, the part after the trouble included. More than that, and something goes in circles.
const STEPS_MAX: usize = 20_000;

fn scope() -> impl Strategy<Value = Scope> {
    let cap = prop_oneof![3 => Just(None), 1 => (1..6u8, any::<bool>()).prop_map(|(bytes, stops)| Some(Cap { bytes, stops }))];
    (1..4usize, [0..7u8, 0..5u8], cap).prop_map(|(requests, writes, cap)| Scope {
        attempts: 3,
        cap,
        frontend_kills: 4,
        executor_kills: 4,
        keeper_kills: 1,
        breaks: 4,
        absences: 3,
        refusals: 2,
        lost_inputs: 1,
        failures: 2,
        full_disks: 2,
        deletions: 2,
        reboots: 1,
        ..Scope::calm(requests, writes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_starts_a_job_twice_forgets_one_or_loses_a_byte(
        scope in scope(),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 0..400),
    ) {
        let mut world = World::new(scope);
        for choice in choices {
            let events = world.events();
            if events.is_empty() {
                break;
            }
            let event = events[choice.index(events.len())];
            prop_assert_eq!(world.apply(event), Ok(()), "at {:?}", event);
        }
        // Then nothing goes wrong any more, and all of it comes to its end.
        for step in 0..STEPS_MAX {
            let calm: Vec<_> = world.events().into_iter().filter(|event| event.is_calm()).collect();
            if calm.is_empty() || world.is_settled() {
                break;
            }
            let event = calm[step % calm.len()];
            prop_assert_eq!(world.apply(event), Ok(()), "at {:?}", event);
        }
        prop_assert!(world.is_settled(), "it does not come to its end: {:?}", world);
    }
}
