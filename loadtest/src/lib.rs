//! SIP callers and answering backends.
