//! Servers that are not ours.
