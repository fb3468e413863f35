// Only here so that the precompiled ATen header belongs to a target.
