/* owner: one server or worker at a time on a data folder, database and storage folder.
 *
 * What is promised to jobs is in one process's memory. A second one on the same files would promise the same memory
 * again, and would take the files of the first one's jobs for left over. `bodyscript jobs` needs no ownership: it
 * changes the store alone.
 *
 * A lock of the kernel on a file beside each (`DATA_DIR/lock`, `….db.lock`, `.lock` in the storage folder), whether it
 * was named or is the one that DATA_DIR has: it goes with its owner, however that dies. The files stay. Threads: one at
 * a time. */
#ifndef BS_SERVICE_OWNER_H
#define BS_SERVICE_OWNER_H

#include "settings/settings.h"

typedef struct bs_owner bs_owner;

/* DATA_DIR, which is made where there is none, and the database: before anything in them is read. Waits a moment for an
 * owner that is about to end; then BS_ERR_FAILED, with a sentence that names the lock and the process. */
bs_status bs_owner_take(bs_owner **out, const bs_settings *settings, bs_error *err);
/* The storage folder as well: once it is there, before anything in it is removed. */
bs_status bs_owner_take_storage(bs_owner *owner, const bs_settings *settings, bs_error *err);
void bs_owner_release(bs_owner **owner);

#endif
