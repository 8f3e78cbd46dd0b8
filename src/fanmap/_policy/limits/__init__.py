"""Who may start, and when: slots, rates, the gate, and how many at once."""
