"""All that ships to the Hub: configurations, models, heads and objectives."""
