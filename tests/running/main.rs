//! Running it: the `consume` command of an application, its settings, its signals, and how it ends.
#![cfg(test)]

mod child;
mod files;
mod huey;
mod layers;
mod lifecycle;
mod said;
mod service;
