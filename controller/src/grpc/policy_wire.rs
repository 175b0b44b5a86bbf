//! Changes of policy in the contract's form.

use fleet::wire::{AccessChange, ExposureChange, Generation, HostChange, TestResult};
use policy::{Holder, PortSet};

use crate::app::policy::{
    Consent, HostDifference, HostExposure, Public, TestResult as Result, TestedLine,
};
use crate::store::model::{self, AfterRestore};

pub(super) fn consent(allow_public: bool, after_restore: bool) -> Consent {
    Consent {
        public: if allow_public {
            Public::Allowed
        } else {
            Public::Refused
        },
        after_restore: if after_restore {
            AfterRestore::Yes
        } else {
            AfterRestore::No
        },
    }
}

/// What a change gives to people and takes from them.
pub(super) fn access_change(change: policy::AccessChange) -> AccessChange {
    let policy::AccessChange {
        holder,
        host,
        gains,
        loses,
        changes,
        runs,
        runs_no_more,
    } = change;
    let (user, key) = match holder {
        Holder::User(user) => (user.into_string(), String::new()),
        Holder::Key(key) => (String::new(), key),
    };
    AccessChange {
        user,
        gains: words(&gains),
        loses: words(&loses),
        host,
        changes,
        runs: runs.unwrap_or_default(),
        runs_no_more: runs_no_more.unwrap_or_default(),
        key,
    }
}

/// `any` for everything there is.
fn words(ports: &PortSet) -> Vec<String> {
    if *ports == PortSet::everything() {
        return vec![policy::EVERYTHING.to_owned()];
    }
    ports.iter().map(|port| port.to_string()).collect()
}

pub(super) fn test_result(test: TestedLine) -> TestResult {
    let TestedLine {
        file,
        line,
        text,
        result,
        detail,
    } = test;
    TestResult {
        file,
        line,
        text,
        passed: result == Result::Passed,
        detail,
        not_run: result == Result::NotRun,
    }
}

pub(super) fn exposure_change(change: HostExposure) -> ExposureChange {
    let HostExposure { host, exposure } = change;
    let texts = |ports: &PortSet| ports.iter().map(|port| port.to_string()).collect();
    ExposureChange {
        host,
        becomes_public: texts(&exposure.becomes_public),
        becomes_hidden: texts(&exposure.becomes_hidden),
    }
}

pub(super) fn host_change(difference: HostDifference) -> HostChange {
    let HostDifference {
        host,
        added,
        removed,
        changed,
    } = difference;
    HostChange {
        host,
        added,
        removed,
        changed,
    }
}

pub(super) fn generation(generation: model::Generation) -> Generation {
    let model::Generation {
        generation,
        author,
        message,
        at_ms,
        rollback_of,
        stanzas,
        file,
    } = generation;
    Generation {
        generation,
        author,
        message,
        at_ms,
        rollback_of,
        stanzas,
        file,
    }
}
