"""One thin script per rule: read the inputs, call the library, write the outputs."""
