//! Every history that a scope allows, each state once.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};

use super::events::{Event, Scope};
use super::world::World;

/// How one state was reached first.
#[derive(Clone, Copy)]
struct Step {
    before: u32,
    event: Option<Event>,
}

/// Goes through all histories. Panics with the shortest one that breaks a rule, or after which nothing leads to the end.
/// Gives the number of states.
pub fn explore(scope: &Scope) -> usize {
    let mut steps = vec![Step { before: 0, event: None }];
    let first = World::new(scope.clone());
    let mut known = HashMap::from([(fingerprint(&first), 0u32)]);
    let mut calm: Vec<(u32, u32)> = Vec::new();
    let mut settled = Vec::new();
    let mut frontier = vec![(0u32, first)];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (number, world) in frontier {
            if world.is_settled() {
                settled.push(number);
            }
            for event in world.events() {
                let mut after = world.clone();
                if let Err(broken) = after.apply(event) {
                    panic!("{broken}\n{}", history(&steps, number, Some(event), scope));
                }
                let reached = match known.entry(fingerprint(&after)) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        let reached = u32::try_from(steps.len()).expect("fewer states than that");
                        steps.push(Step { before: number, event: Some(event) });
                        next.push((reached, after));
                        *entry.insert(reached)
                    }
                };
                if event.is_calm() && reached != number {
                    calm.push((reached, number));
                }
            }
        }
        frontier = next;
    }
    if let Some(stuck) = first_that_does_not_lead_to(&settled, calm, steps.len()) {
        panic!("from here nothing leads to the end\n{}", history(&steps, stuck, None, scope));
    }
    steps.len()
}

/// Two hashes in one, so that states are not mistaken for each other.
fn fingerprint(world: &World) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, world).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// Goes back from the ends over what happens by itself, and gives the first state that was not met.
fn first_that_does_not_lead_to(ends: &[u32], mut back: Vec<(u32, u32)>, states: usize) -> Option<u32> {
    back.sort_unstable();
    let mut leads = vec![false; states];
    let mut open = ends.to_vec();
    ends.iter().for_each(|end| leads[*end as usize] = true);
    while let Some(state) = open.pop() {
        let from = back.partition_point(|(reached, _)| *reached < state);
        for (_, before) in back[from..].iter().take_while(|(reached, _)| *reached == state) {
            if !std::mem::replace(&mut leads[*before as usize], true) {
                open.push(*before);
            }
        }
    }
    leads.iter().position(|leads| !leads).and_then(|state| u32::try_from(state).ok())
}

fn history(steps: &[Step], mut number: u32, last: Option<Event>, scope: &Scope) -> String {
    let mut events: Vec<Event> = last.into_iter().collect();
    while let Some(event) = steps[number as usize].event {
        events.push(event);
        number = steps[number as usize].before;
    }
    events.reverse();
    let mut world = World::new(scope.clone());
    let mut lines: Vec<String> = Vec::new();
    for event in events {
        // The last one may be the one that breaks a rule.
        let broken = world.apply(event).err();
        lines.push(format!("  {event:?}{}", broken.map(|b| format!("   <- {b}")).unwrap_or_default()));
    }
    format!("after:\n{}\nin: {world:?}", lines.join("\n"))
}
