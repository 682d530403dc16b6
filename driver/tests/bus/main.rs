//! The bus, against devices that write down whatever is done to them.

mod at_once;
mod config;
mod features;
mod initialization;
mod notifications;
mod queues;
mod recording;
mod registry;
mod rig;
mod rules;
mod test_driver;
