//! What can happen, and how often.

use ipc_protocol::Stream;

use super::disk::Cap;
use super::executor::Job;
use super::frontend::Work;

/// What a world allows. Each number is how often, in one history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub requests: usize,
    /// Job ids that the repeated attempts of one request may use.
    pub attempts: usize,
    /// What each command writes to its streams.
    pub writes: [u8; 2],
    pub cap: Option<Cap>,
    pub frontend_kills: u8,
    pub executor_kills: u8,
    pub keeper_kills: u8,
    pub breaks: u8,
    pub absences: u8,
    pub refusals: u8,
    pub lost_inputs: u8,
    pub failures: u8,
    pub full_disks: u8,
    pub deletions: u8,
    pub reboots: u8,
    pub restores: u8,
}

impl Scope {
    /// Nothing ever goes wrong.
    pub fn calm(requests: usize, writes: [u8; 2]) -> Self {
        Self {
            requests,
            attempts: 1,
            writes,
            cap: None,
            frontend_kills: 0,
            executor_kills: 0,
            keeper_kills: 0,
            breaks: 0,
            absences: 0,
            refusals: 0,
            lost_inputs: 0,
            failures: 0,
            full_disks: 0,
            deletions: 0,
            reboots: 0,
            restores: 0,
        }
    }

    /// How many job ids there are.
    pub fn jobs(&self) -> usize {
        self.requests * self.attempts
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    StartFrontend,
    StartExecutor,
    Connect,
    GoLive,
    Drain,
    ToExecutor,
    ToFrontend,
    Done(Job, Work),
    Birth(Job),
    Take(Job, Stream),
    End(Job),
    DiskFree,
    RoomAgain,
    // From here on, what need not happen.
    Ask(usize),
    Refuse,
    CannotAsk(Job, u64),
    BirthFails(Job),
    AwayTooLong(Job),
    Break,
    KillFrontend,
    KillExecutor { unborn_go: bool },
    KillKeeper(Job),
    DiskFull,
    Delete(Job),
    Reboot,
    Backup,
    Restore { logs: bool },
}

impl Event {
    /// Whether it happens by itself as long as nothing goes wrong.
    pub fn is_calm(self) -> bool {
        use Event::{
            Birth, Connect, DiskFree, Done, Drain, End, GoLive, RoomAgain, StartExecutor, StartFrontend, Take,
            ToExecutor, ToFrontend,
        };
        matches!(
            self,
            StartFrontend
                | StartExecutor
                | Connect
                | GoLive
                | Drain
                | ToExecutor
                | ToFrontend
                | Done(..)
                | Birth(_)
                | Take(..)
                | End(_)
                | DiskFree
                | RoomAgain
        )
    }
}
