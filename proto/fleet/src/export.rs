//! Records of the fleet's log as text, for people and for the programs of others.
//!
//! Every format is a function from one [`Record`] to one text, for `postern audit list` and for the
//! controller's sinks alike, so that both say the same of the same event. What a record consists of
//! stands in one table (`fields`): a field that is added there is in every format.
//!
//! | file | what |
//! |---|---|
//! | `record` | a record, and what it is called |
//! | `fields` | its fields: their names, in the order in which they are shown |
//! | `severity` | how much each kind of event matters |
//! | `printable` | text that strangers may have written, on one line |
//! | `json` | one object a line |
//! | `csv` | for spreadsheets, and safe in them |
//! | `ocsf` | the Open Cybersecurity Schema Framework, 1.x |
//! | `rfc5424` | syslog with structured data |

mod csv;
mod fields;
mod json;
mod ocsf;
mod printable;
mod record;
mod rfc5424;
mod severity;
mod time;

pub use csv::{cell as csv_cell, header as csv_header, line as csv};
pub use fields::{Field, Value};
pub use json::line as json;
pub use ocsf::line as ocsf;
pub use printable::{printable, printable_json};
pub use record::Record;
pub use rfc5424::message as rfc5424;
pub use severity::Severity;
pub use time::rfc3339_ms;
