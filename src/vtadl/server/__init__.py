"""The inspection server: pages for people, an API for machines, and a history in which nothing is lost.

app.py          puts it together                    settings.py    how it is run
database.py     connections, migrations             tables.py      what is stored
storage.py      pictures on disk, durably           recording.py   from an upload to a stored inspection
scoring.py      the queue and the workers           detectors.py   the only file that knows the rest of vtadl
security.py     who may do what                     problems.py    errors as problem+json
api/            the routes of /v1                   pages/         the routes that people see
templates/  static/  messages/                      pages, scripts and styles, translations
"""
