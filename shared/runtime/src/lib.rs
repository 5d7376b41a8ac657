//! The reconcile loop over the ports, and what every function needs to run it.
