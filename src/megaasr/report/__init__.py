"""Documents made from results: benchmark pages and tables, model cards, galleries."""
