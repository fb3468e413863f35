"""The writers of the shipped corpus: each turns a Dice into one short English document."""
