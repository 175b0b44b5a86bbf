//! The hosts that are listening, and what each of them is told.
//!
//! | file | what |
//! |---|---|
//! | `flow` | how many bytes of policies are on their way at one time |
//! | `others` | what is known of hosts at other controllers; pure |
//! | `registry` | the open sessions, one for each host, and the slot of each that holds its target |
//! | `session` | one host's session: everything the controller has to say to it, in order |
//! | `validity` | until when a host may grant under a text |

pub(crate) mod activity;
pub(crate) mod flow;
pub(crate) mod heard;
pub(crate) mod heartbeat;
pub(crate) mod others;
pub(crate) mod registry;
pub(crate) mod session;
pub(crate) mod validity;
