//! A finAPI simulator.
