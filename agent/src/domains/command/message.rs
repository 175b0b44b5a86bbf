//! A command and its end, as they travel.

use engine::{Command, CommandLine, Ended};
use fleet::GrantId;
use policy::{CommandRule, SudoRule};
use serde::{Deserialize, Serialize};

/// A user and a group, where they are named.
type Whose = (Option<Box<str>>, Option<Box<str>>);

/// What the gate asks for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Asked {
    /// This is to run.
    Run(CommandMessage),
    /// What runs by this name is to end.
    End([u8; 16]),
}

/// As [`Command`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct CommandMessage {
    id: [u8; 16],
    text: String,
    user: Option<Box<str>>,
    group: Option<Box<str>>,
    /// User and group of sudo's.
    sudo: Option<Whose>,
}

/// How a command ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct EndMessage {
    id: [u8; 16],
    ended: Ended,
}

impl From<Command> for CommandMessage {
    fn from(command: Command) -> Self {
        let Command { id, line } = command;
        let CommandLine { text, rule } = line;
        let CommandRule { user, group, sudo } = rule;
        Self {
            id: id.0,
            text,
            user,
            group,
            sudo: sudo.map(|SudoRule { user, group }| (user, group)),
        }
    }
}

impl From<CommandMessage> for Command {
    fn from(message: CommandMessage) -> Self {
        let CommandMessage {
            id,
            text,
            user,
            group,
            sudo,
        } = message;
        let sudo = sudo.map(|(user, group)| SudoRule { user, group });
        Self {
            id: GrantId(id),
            line: CommandLine {
                text,
                rule: CommandRule { user, group, sudo },
            },
        }
    }
}

// === impl EndMessage ===

impl EndMessage {
    pub(super) fn of(id: GrantId, ended: Ended) -> Self {
        Self { id: id.0, ended }
    }
}

impl From<EndMessage> for (GrantId, Ended) {
    fn from(message: EndMessage) -> Self {
        let EndMessage { id, ended } = message;
        (GrantId(id), ended)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::CommandEnd;

    use super::*;
    use crate::domains::channel::{decode, encode};

    #[test]
    fn a_command_and_every_end_come_out_as_they_went_in() {
        let command = Command {
            id: GrantId([3; 16]),
            line: CommandLine {
                text: "id -u".to_owned(),
                rule: CommandRule {
                    user: Some("nobody".into()),
                    group: None,
                    sudo: Some(SudoRule {
                        user: None,
                        group: Some("adm".into()),
                    }),
                },
            },
        };
        let sent = encode(&CommandMessage::from(command.clone())).unwrap();
        let come: CommandMessage = decode(&sent).unwrap();
        assert_eq!(Command::from(come), command);
        for end in [
            CommandEnd::Exited(-1),
            CommandEnd::Signalled(9),
            CommandEnd::TimedOut(Duration::from_millis(1_500)),
            CommandEnd::Stopped,
            CommandEnd::DryRun,
            CommandEnd::NotRun("a".to_owned()),
            CommandEnd::Unknown("b".to_owned()),
        ] {
            let ended = Ended {
                end,
                took: Duration::from_nanos(5),
                output: "out".to_owned(),
            };
            let sent = encode(&EndMessage::of(GrantId([4; 16]), ended.clone())).unwrap();
            let come: EndMessage = decode(&sent).unwrap();
            assert_eq!(<(GrantId, Ended)>::from(come), (GrantId([4; 16]), ended));
        }
    }
}
