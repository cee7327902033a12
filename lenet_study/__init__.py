"""From runs to evidence: studies of LeNet-5's techniques, their records, statistics and figures."""
