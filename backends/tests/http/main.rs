//! The services as their callers see them: over HTTP, each test with a server and a data folder of its own.

#[cfg(test)]
mod auth;
#[cfg(test)]
mod command;
#[cfg(test)]
mod every_service;
#[cfg(test)]
mod monolith;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod vault;
#[cfg(test)]
mod workers;
