//! The bus, against devices that write down whatever is done to them.

mod config;
mod features;
mod initialization;
mod queues;
mod recording;
mod registry;
mod rules;
mod test_driver;
