/* BodyScript: videos of people into body-pose data. All public headers at once. */
#ifndef BODYSCRIPT_BODYSCRIPT_H
#define BODYSCRIPT_BODYSCRIPT_H

#include <bodyscript/export.h>
#include <bodyscript/image.h>
#include <bodyscript/log.h>
#include <bodyscript/memory.h>
#include <bodyscript/metadata.h>
#include <bodyscript/pipeline.h>
#include <bodyscript/pose.h>
#include <bodyscript/sha256.h>
#include <bodyscript/status.h>
#include <bodyscript/version.h>
#include <bodyscript/video.h>

#endif
