"""A node's file read again while it runs: `plan` finds what to do, `reloader` has it done."""
