"""The .innv file: container, records, and what is coded inside them (docs/format.md)."""
