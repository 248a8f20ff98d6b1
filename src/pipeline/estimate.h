/* What the pipeline needs of the estimate beyond bodyscript/pipeline.h. */
#ifndef BS_PIPELINE_ESTIMATE_H
#define BS_PIPELINE_ESTIMATE_H

#include <bodyscript/pipeline.h>

/* A stream turns out larger than its header said, under way, with settings that can no longer be changed: `info` is
 * what it is now, `plan` what was reserved. BS_OK: it still fits options->memory_limit, and plan->total is what is
 * needed now. BS_ERR_LIMIT, with both numbers in the sentence: it does not; `plan` is left alone. Threads: any. */
bs_status bs_estimate_larger(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                             bs_estimate_parts *plan, bs_error *err);

#endif
