-- SPDX-License-Identifier: Apache-2.0
-- 0010 probe: does the database take a write? A standby, and a server without room, still answer a SELECT.

CREATE TABLE context.probe (
    tenant text COLLATE "C" PRIMARY KEY,
    at timestamptz NOT NULL
) WITH (fillfactor = 10);

CREATE FUNCTION context.write_probe(p_tenant text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO context.probe AS p (tenant, at) VALUES (p_tenant, clock_timestamp())
    ON CONFLICT (tenant) DO UPDATE SET at = excluded.at;
END $$;
