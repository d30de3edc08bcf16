"""From members to one model: what they say, rules that choose among them, what the rules make and how good it is."""
