"""The paper's Tables 2 to 5: which rows they have, what the paper reports, what was reached here, and what it costs."""
