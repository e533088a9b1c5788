//! End-to-end tests live in `tests/`: they drive the built program with unmodified kubectl and real
//! containers, and know nothing of its code, so this crate depends on no other of the project.
//!
//! Data flow: `make test` builds the program and the test images and brings a cluster up; the tests
//! find them through `IRONCLAD_BIN`, `IRONCLAD_IMAGES`, `IRONCLAD_E2E` and `KUBECTL`.
//! Invariants: each test has a namespace of its own; a test that breaks a cluster makes one for it.
