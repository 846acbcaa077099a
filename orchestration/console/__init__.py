"""The console: pages on which people see what waits for them and answer it. `app.make_app` puts it together."""
