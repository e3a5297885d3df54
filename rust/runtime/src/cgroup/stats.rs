//! Resource usage of a container, in the shape of the Docker Engine API where that makes sense.
use serde::Serialize;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {}
