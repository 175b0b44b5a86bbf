//! What has happened so far, in numbers, for people and programs that look on.

/// Counts since the start, and how much there is of what is bounded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// What the gate made of packets.
    pub gate: gate::Counters,
    /// What the engine made of that.
    pub engine: EngineCounters,
}

/// What became of what the gate permits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EngineCounters {
    /// Grants open now.
    pub grants_open: u64,
    /// Grants whose holes have closed, and that live on in connections.
    pub grants_living_on: u64,
    /// Connections through grants.
    pub connections: u64,
    /// Command cycles that are open now.
    pub cycles_open: u64,
    /// Grants opened.
    pub opened: u64,
    /// Grants asked for again, and open for as long as that since.
    pub refreshed: u64,
    /// Grants closed at their end, or with the agent.
    pub closed: u64,
    /// Grants closed because a new policy does not give them.
    pub revoked: u64,
    /// Connections ended with what let them begin.
    pub connections_cut: u64,
    /// Grants and commands refused because too many are open, run or wait.
    pub over_limit: u64,
    /// Grants and commands refused because they could not be recorded.
    pub not_recorded: u64,
    /// Grants recorded that the firewall did not open. They are not counted as closed.
    pub not_opened: u64,
    /// Times that the firewall did not close or open again what it was told to.
    pub firewall_failures: u64,
    /// Commands started.
    pub commands_started: u64,
    /// Commands that run now.
    pub commands_running: u64,
    /// Commands that wait now.
    pub commands_waiting: u64,
    /// Claims that wait now for the controller.
    pub claims_waiting: u64,
    /// Grants that wait now for a host name to be looked up.
    pub names_waiting: u64,
    /// Records that wait now for a disk that takes none.
    pub records_waiting: u64,
    /// Records that were given up because too many waited.
    pub records_lost: u64,
    /// Commits that failed.
    pub commits_failed: u64,
    /// Packets that the captures lost.
    pub packets_lost: u64,
}

// === impl Counters ===

impl Counters {
    /// Returns every counter by name, the gate's first.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        self.gate.named().into_iter().chain(self.engine.named())
    }
}

// === impl EngineCounters ===

impl EngineCounters {
    fn named(self) -> [(&'static str, u64); 22] {
        let Self {
            grants_open,
            grants_living_on,
            connections,
            cycles_open,
            opened,
            refreshed,
            closed,
            revoked,
            connections_cut,
            over_limit,
            not_recorded,
            not_opened,
            firewall_failures,
            commands_started,
            commands_running,
            commands_waiting,
            claims_waiting,
            names_waiting,
            records_waiting,
            records_lost,
            commits_failed,
            packets_lost,
        } = self;
        [
            ("grants_open", grants_open),
            ("grants_living_on", grants_living_on),
            ("connections", connections),
            ("cycles_open", cycles_open),
            ("opened", opened),
            ("refreshed", refreshed),
            ("closed", closed),
            ("revoked", revoked),
            ("connections_cut", connections_cut),
            ("over_limit", over_limit),
            ("not_recorded", not_recorded),
            ("not_opened", not_opened),
            ("firewall_failures", firewall_failures),
            ("commands_started", commands_started),
            ("commands_running", commands_running),
            ("commands_waiting", commands_waiting),
            ("claims_waiting", claims_waiting),
            ("names_waiting", names_waiting),
            ("records_waiting", records_waiting),
            ("records_lost", records_lost),
            ("commits_failed", commits_failed),
            ("packets_lost", packets_lost),
        ]
    }
}
