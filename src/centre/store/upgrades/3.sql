-- Version 2 to 3: where the object is in an event's picture, for lists (events that came before have none); the events of an incident. Frozen.

ALTER TABLE event ADD COLUMN box TEXT;
CREATE INDEX triage_incident ON triage (incident) WHERE incident IS NOT NULL;
