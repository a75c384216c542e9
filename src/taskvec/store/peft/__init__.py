"""What PEFT stores of an adapter: its configuration, its tensors' names, and what they change in a base."""
