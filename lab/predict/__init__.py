"""What the documents predict for a flow, independent of the rules that a lab is compiled to."""
