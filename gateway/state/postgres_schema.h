#ifndef PENSTOCK_STATE_POSTGRES_SCHEMA_H
#define PENSTOCK_STATE_POSTGRES_SCHEMA_H

/* The tables in PostgreSQL, as the steps from each version to the next. */
#define POSTGRES_SCHEMA_VERSION 1
extern const char *const postgres_schemas[POSTGRES_SCHEMA_VERSION];

#endif
