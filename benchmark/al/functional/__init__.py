"""The papers' formulas as pure functions of tensors, held by golden vectors."""
