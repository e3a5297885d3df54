src/app.py
