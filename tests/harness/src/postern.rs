//! Our agent, controller and client.
