//! Messages and AWS events as they arrive, turned into typed values at the edge, or refused with the name of the field.
//!
//! Everything here is tolerant where AWS may grow (unknown fields, unknown values of an enumeration, unknown detail types) and
//! strict where Tidegate acts on what it reads: a digest is a digest, a name is a name, an account is one we serve.

mod decode;
pub mod wake;
