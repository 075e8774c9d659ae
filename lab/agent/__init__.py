"""The process beside a running lab: it carries packets, probes and clock ticks to the deciders."""
