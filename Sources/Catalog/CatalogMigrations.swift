import GRDB

/// The catalog's tables, one migration for each version of them. A published migration is never changed: a new version
/// is a new one at the end.
enum CatalogMigrations {
    /// Says in the file's header whose database it is: "CRUX".
    static let applicationID: Int32 = 0x4352_5558

    static let all: DatabaseMigrator = {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1: runs") { db in
            try db.execute(sql: runs + files + names + values + jobs)
            try db.execute(sql: "PRAGMA application_id = \(applicationID)")
        }
        return migrator
    }()

    private static let runs = """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY,
            path TEXT NOT NULL UNIQUE,
            stage TEXT NOT NULL,
            version TEXT NOT NULL,
            state TEXT NOT NULL,
            manifest_sha256 TEXT,
            fingerprint TEXT NOT NULL,
            recipe TEXT,
            -- Of all attempts together: first start, last end, sum of their seconds; of the last one: the rest.
            started TEXT, ended TEXT, seconds REAL, tasks INTEGER, attempts INTEGER NOT NULL,
            host TEXT, status INTEGER, command TEXT
        );
        CREATE INDEX runs_manifest ON runs (manifest_sha256);
        CREATE INDEX runs_started ON runs (started);
        CREATE TABLE attempts (
            run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
            number INTEGER NOT NULL,
            rank INTEGER NOT NULL, tasks INTEGER NOT NULL,
            host TEXT NOT NULL, process INTEGER NOT NULL,
            started TEXT NOT NULL, ended TEXT, seconds REAL, status INTEGER,
            command TEXT NOT NULL, folder TEXT NOT NULL, scheduler TEXT NOT NULL,
            PRIMARY KEY (run_id, number)
        ) WITHOUT ROWID;

        """

    private static let files =
        ["inputs", "outputs"].map { table in
            """
            CREATE TABLE \(table) (
                run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
                number INTEGER NOT NULL,
                path TEXT NOT NULL, bytes INTEGER, digest TEXT, rows INTEGER,
                PRIMARY KEY (run_id, number)
            ) WITHOUT ROWID;
            CREATE INDEX \(table)_digest ON \(table) (digest);

            """
        }.joined() + """
            -- Digests of the manifests among a run's inputs: what it was made from.
            CREATE TABLE parents (
                run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
                digest TEXT NOT NULL,
                PRIMARY KEY (run_id, digest)
            ) WITHOUT ROWID;

            """

    private static let names = """
        CREATE TABLE names (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL, name TEXT NOT NULL,
            UNIQUE (kind, name)
        );
        -- A recipe stands here once, however many runs follow it.
        CREATE TABLE recipes (id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE);
        CREATE TABLE recipe_values (
            name_id INTEGER NOT NULL REFERENCES names,
            recipe_id INTEGER NOT NULL REFERENCES recipes ON DELETE CASCADE,
            value,
            PRIMARY KEY (name_id, recipe_id)
        ) WITHOUT ROWID;
        CREATE INDEX recipe_values_recipe ON recipe_values (recipe_id);
        CREATE TABLE run_recipes (
            run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
            role TEXT NOT NULL,
            recipe_id INTEGER NOT NULL REFERENCES recipes,
            PRIMARY KEY (run_id, role)
        ) WITHOUT ROWID;

        """

    private static let values = """
        CREATE TABLE figures (
            name_id INTEGER NOT NULL REFERENCES names,
            run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
            value,
            PRIMARY KEY (name_id, run_id)
        ) WITHOUT ROWID;
        CREATE INDEX figures_run ON figures (run_id);
        CREATE TABLE metrics (
            name_id INTEGER NOT NULL REFERENCES names,
            run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
            step INTEGER NOT NULL,
            value REAL NOT NULL,
            PRIMARY KEY (name_id, run_id, step)
        ) WITHOUT ROWID;
        CREATE INDEX metrics_run ON metrics (run_id);

        """

    /// A job's state follows from who has sampled and joined its table: it is the same in whatever order runs are
    /// recorded.
    private static let jobs = """
        CREATE TABLE jobs (
            run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
            number INTEGER NOT NULL,
            job_id TEXT NOT NULL, custom_id TEXT NOT NULL, base_rollout_id TEXT NOT NULL,
            state_index INTEGER NOT NULL, replicate INTEGER NOT NULL,
            PRIMARY KEY (run_id, number)
        ) WITHOUT ROWID;
        CREATE TABLE joins (
            run_id INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
            jobs_digest TEXT NOT NULL
        );
        CREATE INDEX joins_jobs ON joins (jobs_digest);
        CREATE TABLE missing_jobs (
            run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
            custom_id TEXT NOT NULL,
            PRIMARY KEY (run_id, custom_id)
        ) WITHOUT ROWID;

        """
}
