"""Studies: many measurements of one question, and the page that answers it."""
