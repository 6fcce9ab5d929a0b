"""Pages of people: signing in, their tokens, the members of their projects."""
